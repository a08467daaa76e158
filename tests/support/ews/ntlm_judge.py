"""Judges logins by NTLM with pyspnego: a line of JSON in, a line of JSON out. NTLM_USER_FILE names its file of accounts.

In: {"connection": 1, "token": "...", "binding": "hash of the certificate in hexadecimal digits, or nothing"}
Out: {"token": "..."} for a challenge, {"user": "..."} for who is let in, {"refused": "..."} for others.
"""

import base64
import json
import sys

import spnego
from spnego.channel_bindings import GssChannelBindings

contexts = {}
for line in sys.stdin:
    asked = json.loads(line)
    token = base64.b64decode(asked["token"])
    number = asked["connection"]
    try:
        if token[8:9] == b"\x01":
            binding = asked["binding"]
            data = b"tls-server-end-point:" + bytes.fromhex(binding)
            bindings = GssChannelBindings(application_data=data) if binding else None
            contexts[number] = spnego.server(protocol="ntlm", channel_bindings=bindings)
            told = {"token": base64.b64encode(contexts[number].step(token)).decode()}
        else:
            context = contexts.pop(number)
            context.step(token)
            told = {"user": context.client_principal} if context.complete else {"refused": "not complete"}
    except Exception as error:
        told = {"refused": f"{type(error).__name__}: {error}"}
    print(json.dumps(told), flush=True)
