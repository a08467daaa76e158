"""A web server that lets in by NTLM, with pyspnego as the side that judges (NTLM_USER_FILE names its file of accounts).

ntlm_server.py PORT CERTIFICATE KEY. What it does depends on the path:
  /right /wrong /none   NTLM; bound to its certificate, to another one, to nothing
  /negotiate            the same messages as /right under the name of Negotiate
  /kerberos             Negotiate without NTLM
  /forgets              wants a login for each request
  /closes               closes the connection behind the challenge
  /basic                offers Basic only; /choice both; /open wants nothing
  /length               offers Basic, and wants a body before anything else
An answer tells who was let in and what the proof held.
"""

import base64
import hashlib
import http.server
import json
import ssl
import sys

import spnego
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from spnego._ntlm_raw.messages import Authenticate, AvId, NTClientChallengeV2
from spnego.channel_bindings import GssChannelBindings


def bindings(octets):
    return GssChannelBindings(application_data=b"tls-server-end-point:" + hashlib.sha256(octets).digest())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    context = None
    user = None
    asked = 0

    def do_POST(self):
        self.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        mode = self.path.strip("/")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if mode == "open":
            return self.answer(200, {}, {"body": body})
        if mode == "length" and not body:
            return self.answer(411, {})
        if mode in ("basic", "choice", "length") and scheme == "Basic":
            return self.answer(200, {}, {"basic": base64.b64decode(token).decode(), "body": body})
        if mode in ("basic", "length"):
            return self.answer(401, [("WWW-Authenticate", 'Basic realm="mail, corp"')])
        wanted = "Negotiate" if mode in ("negotiate", "kerberos") else "NTLM"
        if self.user and mode != "forgets":
            return self.answer(200, {}, {"user": self.user, "body": body, "asked": self.asked})
        offers = [("WWW-Authenticate", wanted)] + ([("WWW-Authenticate", "Basic realm=x")] if mode == "choice" else [])
        if scheme != wanted or not token or mode == "kerberos":
            return self.answer(401, offers)
        token = base64.b64decode(token)
        if self.context is None or token[8] == 1:
            end_point = {"none": None, "wrong": bindings(b"another")}.get(mode, bindings(CERTIFICATE))
            self.context = spnego.server(protocol="ntlm", channel_bindings=end_point)
            said = self.context.step(token)
            if mode == "closes":
                self.close_connection = True
            return self.answer(401, [("WWW-Authenticate", f"{wanted} {base64.b64encode(said).decode()}")])
        context, self.context = self.context, None
        proof = Authenticate.unpack(token)
        pairs = NTClientChallengeV2.unpack(proof.nt_challenge_response[16:]).av_pairs
        try:
            context.step(token)
        except Exception as error:
            print(f"refused on {self.path}: {error}", flush=True)
            return self.answer(401, offers)
        assert context.complete
        self.user = context.client_principal
        told = {"user": self.user, "domain": proof.domain_name, "body": body, "asked": self.asked}
        told["target"] = pairs[AvId.target_name]
        told["mic"] = bool(pairs[AvId.flags] & 2) and proof.mic is not None
        told["lm"] = (proof.lm_challenge_response or b"").hex().strip("0")
        self.answer(200, [], told)

    def answer(self, status, fields, told=None):
        body = json.dumps(told).encode() if told else b"<html>no</html>"
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, address)


PORT, CHAIN, KEY = sys.argv[1:]
CERTIFICATE = x509.load_pem_x509_certificates(open(CHAIN, "rb").read())[0].public_bytes(Encoding.DER)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CHAIN, KEY)
server = Server(("127.0.0.1", int(PORT)), Handler)
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
