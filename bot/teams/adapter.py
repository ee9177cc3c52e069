"""The only file that knows the Bot Framework SDK (botbuilder 4.17.1): activities in, Bot Connector calls out.

What is worked around, each where it is marked:

1. An invoke's body is serialised twice and answers 500: the HTTP response is written by ``bot.teams`` itself.
2. ``Entity`` drops what it does not know, citations and streams among it: ``_Entity`` keeps it.
3. ``message/submitAction`` and ``message/fetchTask`` are not dispatched: ``_Dispatch.on_invoke_activity`` does.
4. and 5. Tokens and signing keys are checked before the SDK is asked (``tokens.py``), and it is told so.
The HTTP layer under its client is replaced, too (``transport.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
from botbuilder.core import InvokeResponse, TurnContext
from botbuilder.core.teams import TeamsActivityHandler
from botbuilder.integration.aiohttp import CloudAdapter
from botbuilder.schema import (
    Activity,
    Attachment,
    CardAction,
    ChannelAccount,
    ConversationAccount,
    ConversationParameters,
    Entity,
    SuggestedActions,
)
from botframework.connector.aio import ConnectorClient
from botframework.connector.auth import (
    AppCredentials,
    AuthenticateRequestResult,
    BotFrameworkAuthentication,
    ClaimsIdentity,
    ConnectorFactory,
    ManagedIdentityAppCredentials,
    MicrosoftAppCredentials,
)
from msal import ConfidentialClientApplication  # type: ignore[import-untyped]
from msrest.pipeline.async_abc import AsyncPipeline
from msrest.pipeline.universal import RawDeserializer

from assistant.settings import Settings
from bot.teams.events import Malformed
from bot.teams.port import Chunk, Member, Message, Place, Refused
from bot.teams.tokens import PUBLIC, US_GOVERNMENT, service_of
from bot.teams.transport import LOGIN_TIMEOUT, QUERY_HEADER, Bearer, Sender, Tokens

LOGINS = {
    PUBLIC: ("https://login.microsoftonline.com", "botframework.com"),
    US_GOVERNMENT: ("https://login.microsoftonline.us", "MicrosoftServices.onmicrosoft.us"),
}  # the authority, and the tenant in which an app of many tenants gets its token
CARD = "application/vnd.microsoft.card.adaptive"


class Receiver(Protocol):
    """What is done with an activity; each takes the activity's JSON."""

    async def message(self, body: dict[str, Any]) -> None: ...

    async def message_update(self, body: dict[str, Any]) -> None: ...

    async def message_delete(self, body: dict[str, Any]) -> None: ...

    async def conversation_update(self, body: dict[str, Any]) -> None: ...

    async def installation_update(self, body: dict[str, Any]) -> None: ...

    async def invoke(self, body: dict[str, Any]) -> tuple[int, Any]:
        """The HTTP status and the body to answer with."""
        ...


class TeamsAdapter:
    """Dispatches activities that were let in, and sends messages; a ``bot.teams.port.Connector``."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, may_call: Callable[[str], bool]) -> None:
        self._scope = service_of(settings)
        self._clients = _Clients(_credentials(settings), session, may_call)
        self._adapter = CloudAdapter(_Authentication(self._clients))

    async def dispatch(self, body: dict[str, Any], receiver: Receiver) -> tuple[int, Any]:
        """Hand the activity to the receiver; the HTTP status and, for an invoke, the body to answer with."""
        try:
            activity = Activity.deserialize(body)
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise Malformed("activity") from error
        if not activity.type:
            raise Malformed("type")
        result = AuthenticateRequestResult()
        result.claims_identity = ClaimsIdentity({}, True)
        result.audience = self._scope
        result.connector_factory = self._clients
        response = await self._adapter.process_activity(result, activity, _Dispatch(body, receiver).on_turn)
        if response is None:
            return int(HTTPStatus.OK), None
        return int(response.status), response.body

    async def send(self, place: Place, message: Message, reply_to: str | None) -> str:
        conversations = self._clients.client(place.service_url).conversations
        activity, query = _message(place, message, reply_to), _query(place)
        if reply_to:
            sent = await conversations.reply_to_activity(place.conversation, reply_to, activity, custom_headers=query)
        else:
            sent = await conversations.send_to_conversation(place.conversation, activity, custom_headers=query)
        if sent is None or not sent.id:
            raise Refused(HTTPStatus.BAD_GATEWAY, "without an activity id")
        return str(sent.id)

    async def update(self, place: Place, activity_id: str, message: Message) -> None:
        activity = _message(place, message, None)
        activity.id = activity_id
        if place.only:  # an update of a targeted message may not name anybody
            activity.recipient = None
        await self._clients.client(place.service_url).conversations.update_activity(
            place.conversation, activity_id, activity, custom_headers=_query(place)
        )

    async def delete(self, place: Place, activity_id: str) -> None:
        conversations = self._clients.client(place.service_url).conversations
        await conversations.delete_activity(place.conversation, activity_id, custom_headers=_query(place))

    async def typing(self, place: Place) -> None:
        conversations = self._clients.client(place.service_url).conversations
        await conversations.send_to_conversation(place.conversation, _activity(place, "typing"))

    async def stream(self, place: Place, message: Message, chunk: Chunk) -> str:
        activity = _message(place, message, None)
        activity.type = "message" if chunk.kind == "final" else "typing"
        activity.entities = [*(activity.entities or ()), _entity(chunk.entity())]
        conversations = self._clients.client(place.service_url).conversations
        sent = await conversations.send_to_conversation(place.conversation, activity)
        return str(sent.id or "") if sent is not None else ""

    async def open_chat(self, place: Place) -> str:
        parameters = ConversationParameters(
            is_group=False,
            bot=ChannelAccount(id=place.bot_id),
            members=[ChannelAccount(id=place.user_id)],
            tenant_id=place.tenant or None,
            channel_data={"tenant": {"id": place.tenant}} if place.tenant else None,
        )
        opened = await self._clients.client(place.service_url).conversations.create_conversation(parameters)
        if opened is None or not opened.id:
            raise Refused(HTTPStatus.BAD_GATEWAY, "without a conversation id")
        return str(opened.id)

    async def member(self, place: Place, who: str) -> Member:
        channel = place.conversation.partition(";messageid")[0]
        conversations = self._clients.client(place.service_url).conversations
        found = await conversations.get_conversation_member(channel, who)
        if found is None or not found.id:
            raise Refused(HTTPStatus.NOT_FOUND, "no such member")
        return Member(str(found.id), str(found.name or who))


class _Entity(Entity):  # type: ignore[misc]
    """An entity whose unknown keys are sent, too (2)."""

    _attribute_map = {**Entity._attribute_map, "additional_properties": {"key": "", "type": "{object}"}}  # noqa: RUF012


def _entity(fields: Mapping[str, Any]) -> _Entity:
    rest = {name: value for name, value in fields.items() if name != "type"}
    return _Entity(type=fields["type"], additional_properties=rest)


def _query(place: Place) -> dict[str, str] | None:
    return {QUERY_HEADER: "isTargetedActivity=true"} if place.only else None


def _activity(place: Place, kind: str) -> Activity:
    return Activity(
        type=kind,
        channel_id="msteams",
        service_url=place.service_url,
        from_property=ChannelAccount(id=place.bot_id),
        recipient=ChannelAccount(id=place.only or place.user_id),
        conversation=ConversationAccount(
            id=place.conversation, conversation_type="personal" if place.personal else None
        ),
    )


def _message(place: Place, message: Message, reply_to: str | None) -> Activity:
    activity = _activity(place, "message")
    activity.reply_to_id = reply_to
    if message.card is None:
        activity.text, activity.text_format = message.text, "markdown"
    else:
        activity.summary = message.text
        activity.attachments = [Attachment(content_type=CARD, content=dict(message.card))]
    activity.entities = [_entity(fields) for fields in message.entities] or None
    activity.channel_data = dict(message.channel_data) or None
    if message.suggestions:
        actions = [CardAction(type="imBack", title=text, value=text) for text in message.suggestions]
        activity.suggested_actions = SuggestedActions(to=[place.user_id], actions=actions)
    return activity


class _Dispatch(TeamsActivityHandler):  # type: ignore[misc]
    """One activity's way to the receiver, which reads the JSON itself: the SDK's models drop what they do not know."""

    def __init__(self, body: dict[str, Any], receiver: Receiver) -> None:
        self._body = body
        self._receiver = receiver

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        await self._receiver.message(self._body)

    async def on_message_update_activity(self, turn_context: TurnContext) -> None:
        await self._receiver.message_update(self._body)

    async def on_message_delete_activity(self, turn_context: TurnContext) -> None:
        await self._receiver.message_delete(self._body)

    async def on_conversation_update_activity(self, turn_context: TurnContext) -> None:
        await self._receiver.conversation_update(self._body)

    async def on_installation_update(self, turn_context: TurnContext) -> None:
        await self._receiver.installation_update(self._body)

    async def on_invoke_activity(self, turn_context: TurnContext) -> InvokeResponse:
        status, body = await self._receiver.invoke(self._body)  # (3)
        return InvokeResponse(status=status, body=body)


class _Authentication(BotFrameworkAuthentication):  # type: ignore[misc]
    """Never asked to check a request: ``tokens.Door`` has done it (4, 5)."""

    def __init__(self, clients: _Clients) -> None:
        self._clients = clients

    async def authenticate_request(self, activity: Activity, auth_header: str) -> AuthenticateRequestResult:
        raise PermissionError("requests are checked at the door")

    async def authenticate_streaming_request(
        self, auth_header: str, channel_id_header: str
    ) -> AuthenticateRequestResult:
        raise PermissionError("no streaming connections")

    def create_connector_factory(self, claims_identity: ClaimsIdentity) -> ConnectorFactory:
        return self._clients

    async def create_user_token_client(self, claims_identity: ClaimsIdentity) -> None:
        return None


class _Clients(ConnectorFactory):  # type: ignore[misc]
    """One SDK client for each service URL (there are a handful: one a region), over one HTTP session."""

    def __init__(
        self, credentials: AppCredentials | None, session: aiohttp.ClientSession, may_call: Callable[[str], bool]
    ) -> None:
        self._tokens = Tokens(credentials)
        self._may_call = may_call
        self._session = session
        self._known: dict[str, ConnectorClient] = {}

    async def create(self, service_url: str, audience: str) -> ConnectorClient:
        return self.client(service_url)

    def client(self, service_url: str) -> ConnectorClient:
        if not self._may_call(service_url):  # stored under other settings
            raise Refused(HTTPStatus.FORBIDDEN, "host not allowed")
        if service_url not in self._known:
            client = ConnectorClient(MicrosoftAppCredentials.empty(), base_url=service_url)
            policies = [client.config.user_agent_policy, Bearer(self._tokens), RawDeserializer()]
            client.config.pipeline = AsyncPipeline(policies, Sender(self._session))
            self._known[service_url] = client
        return self._known[service_url]


class _Password(MicrosoftAppCredentials):  # type: ignore[misc]
    """The SDK's credentials with a deadline, those of the configured cloud, and of another authority where one is."""

    def __init__(self, app_id: str, password: str, scope: str, tenant: str | None, authority: str | None) -> None:
        login, shared = LOGINS[scope]
        super().__init__(app_id, password, channel_auth_tenant=tenant or shared, oauth_scope=scope)
        self.app: Any = None
        self._known = authority is None
        self.oauth_endpoint = f"{(authority or login).rstrip('/')}/{tenant or shared}"

    def get_access_token(self, force_refresh: bool = False) -> str:
        if self.app is None:
            self.app = ConfidentialClientApplication(
                client_id=self.microsoft_app_id,
                client_credential=self.microsoft_app_password,
                authority=self.oauth_endpoint,
                validate_authority=self._known,
                timeout=LOGIN_TIMEOUT,
            )
        return str(super().get_access_token(force_refresh))


def _credentials(settings: Settings) -> AppCredentials | None:
    """None in anonymous mode: calls go out unsigned, to this machine only."""
    if settings.teams_anonymous or not settings.teams_app_id:
        return None
    if settings.teams_app_type == "UserAssignedMSI":
        return ManagedIdentityAppCredentials(settings.teams_app_id, service_of(settings))
    password = settings.teams_app_password.get_secret_value() if settings.teams_app_password else ""
    own = settings.teams_app_tenant_id if settings.teams_app_type == "SingleTenant" else None
    return _Password(settings.teams_app_id, password, service_of(settings), own, settings.teams_login_url)
