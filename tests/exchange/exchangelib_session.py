"""What `exchangelib` does with a mailbox: lists, reads, marks, moves, deletes, synchronises. Its answers go to standard output as JSON.

exchangelib_session.py URL USER PASSWORD MAILBOX
"""

import json
import sys

from exchangelib import BASIC, Account, Build, Configuration, Credentials, DELEGATE, Version
from exchangelib.protocol import BaseProtocol

url, user, password, mailbox = sys.argv[1:]
BaseProtocol.TIMEOUT = 20
config = Configuration(
    service_endpoint=url,
    credentials=Credentials(user, password),
    auth_type=BASIC,
    version=Version(Build(15, 0, 1497, 2), "Exchange2013_SP1"),
)
account = Account(mailbox, config=config, autodiscover=False, access_type=DELEGATE)
told = {}

inbox = account.inbox
told["inbox"] = [inbox.name, inbox.total_count]
told["folders"] = sorted(folder.absolute for folder in account.msg_folder_root.walk() if folder.folder_class == "IPF.Note")

items = list(inbox.all().order_by("datetime_received"))
told["subjects"] = [item.subject for item in items]
told["mime"] = [item.mime_content.decode("latin-1") for item in items]
told["unread"] = inbox.filter(is_read=False).count()

first, second, third = items[:3]
first.is_read = True
first.save(update_fields=["is_read"])
told["unread_then"] = inbox.filter(is_read=False).count()
second.move(account.junk)
third.delete()
told["left"] = [item.subject for item in inbox.all().order_by("datetime_received")]
told["junk"] = [item.subject for item in account.junk.all()]

changes = [change for change, _ in inbox.sync_items(only_fields=["subject"])]
told["created"] = changes.count("create")
state = inbox.item_sync_state
items[3].delete()
told["changes"] = [change for change, _ in inbox.sync_items(sync_state=state, only_fields=["subject"])]
print(json.dumps(told))
