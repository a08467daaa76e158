"""Microsoft's own client of Graph goes through a mailbox: what it meets is printed, one thing a line."""

import asyncio
import sys

from kiota_abstractions.authentication import AuthenticationProvider
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph import GraphServiceClient
from msgraph.generated.models.mail_folder import MailFolder
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.users.item.mail_folders.item.messages.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.generated.users.item.mail_folders.item.messages.item.move.move_post_request_body import MovePostRequestBody
from msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder import MessagesRequestBuilder
from msgraph.graph_request_adapter import GraphRequestAdapter


class Bearer(AuthenticationProvider):
    def __init__(self, token):
        self.token = token

    async def authenticate_request(self, request, additional_authentication_context=None):
        request.headers.add("Authorization", f"Bearer {self.token}")


def client(url, token):
    adapter = GraphRequestAdapter(Bearer(token))
    adapter.base_url = url
    return GraphServiceClient(request_adapter=adapter)


def immutable(parameters=None, page=None):
    configuration = RequestConfiguration(query_parameters=parameters)
    configuration.headers.add("Prefer", 'IdType="ImmutableId"')
    if page:
        configuration.headers.add("Prefer", f"odata.maxpagesize={page}")
    return configuration


async def refused(what, awaited):
    try:
        await awaited
    except ODataError as error:
        print(f"{what}: {error.response_status_code} {error.error.code}")
    else:
        print(f"{what}: taken")


async def main(url, token, box):
    graph = client(url, token)
    user = graph.users.by_user_id(box)
    folders = await user.mail_folders.get()
    print("folders:", ", ".join(folder.display_name for folder in folders.value))
    inbox = user.mail_folders.by_mail_folder_id("inbox")
    print("inbox:", (await inbox.get()).total_item_count)

    query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
        select=["subject", "receivedDateTime", "isRead"], orderby=["receivedDateTime"], top=2, filter="receivedDateTime ge 2000-01-01T00:00:00Z"
    )
    page = await inbox.messages.get(request_configuration=immutable(query))
    subjects = [message.subject for message in page.value]
    ids = [message.id for message in page.value]
    while page.odata_next_link:
        page = await inbox.messages.with_url(page.odata_next_link).get(request_configuration=immutable())
        subjects += [message.subject for message in page.value]
        ids += [message.id for message in page.value]
    print("subjects:", ", ".join(subjects))

    query = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(select=["isRead"])
    page = await inbox.messages.delta.get(request_configuration=immutable(query, page=2))
    told = [message.id for message in page.value]
    while page.odata_next_link:
        page = await inbox.messages.delta.with_url(page.odata_next_link).get(request_configuration=immutable(page=2))
        told += [message.id for message in page.value]
    print("delta:", "the same" if told == ids else told)

    first = inbox.messages.by_message_id(ids[0])
    # Below the folder the real one refuses it, whatever its manual says.
    print("mime:", (await user.messages.by_message_id(ids[0]).content.get()).decode().splitlines()[2])
    await first.patch(Message(is_read=True))
    moved = await inbox.messages.by_message_id(ids[1]).move.post(MovePostRequestBody(destination_id="archive"), request_configuration=immutable())
    print("moved:", "the same id" if moved.id == ids[1] else moved.id)
    await inbox.messages.by_message_id(ids[2]).delete()
    made = await user.mail_folders.post(MailFolder(display_name="Made"))
    print("made:", made.display_name)

    page = await inbox.messages.delta.with_url(page.odata_delta_link).get(request_configuration=immutable())
    for message in page.value:
        removed = (message.additional_data or {}).get("@removed")
        print("changed:", ids.index(message.id), "removed" if removed else f"read {message.is_read}")

    await refused("gone", inbox.messages.by_message_id(ids[2]).get())
    await refused("nobody", graph.users.by_user_id("nobody@tenant.example").mail_folders.get())
    await refused("token", client(url, "another").users.by_user_id(box).mail_folders.get())


asyncio.run(main(*sys.argv[1:]))
