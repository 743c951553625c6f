"""A transport over an MQTT 5 broker, by paho: the only place that knows it.

The connection comes back by itself, after one second at first and half a minute at most. Messages are sent with
quality of service 1; what a broker loses when it dies is not its business but that of outbox and inbox.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from iotlam.contracts import BadInput
from iotlam.streams.transport import Answer, Handler, Message, matches, unasked

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

PORT, TLS_PORT = 1883, 8883
FIRST_WAIT_S = 10.0
QUALITY = 1
NOBODY_LISTENS = 0x10
"""Reason code of MQTT 5 with which a broker acknowledges what it has passed on to nobody."""

MOST_WAITING = 2000
"""Messages that may wait for the broker before `publish` refuses more."""


class MqttTransport:
    """A connection to a broker.

    Args:
        address: `mqtt://host:1883`, `mqtts://user:password@host`; mqtts is TLS by the system's certificates.
        client_id: unique at the broker.

    Raises:
        BadInput: if paho-mqtt is not installed, the address is none, no broker answers there, or it refuses.
    """

    def __init__(self, address: str, client_id: str) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        except ImportError as error:
            fix = "pip install 'iotlam[streams]'"
            raise BadInput(
                "--broker", expected="paho-mqtt, which speaks MQTT", got="no such package", fix=fix
            ) from error
        self._address = address
        self._handlers: list[tuple[str, Handler]] = []
        self._on_connect: list[Callable[[], None]] = []
        self._answered, self._connected, self._refusal = threading.Event(), threading.Event(), ""
        self._client: Client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect, self._client.on_disconnect = self._came, self._went
        self._client.on_message, self._client.on_publish = self._received, self._acknowledged
        self._lock = threading.Lock()  # never held while paho is called: it holds locks of its own while it calls us
        self._awaited: dict[int, Answer] = {}
        self._early: dict[int, bool] = {}  # acknowledged before `publish` knew under which number it had been sent
        self._client.max_inflight_messages_set(200)
        self._client.max_queued_messages_set(MOST_WAITING)
        self._client.reconnect_delay_set(1, 30)
        self._connect()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected.is_set()

    def subscribe(self, pattern: str, handler: Handler) -> None:
        """Hand messages of matching topics to a function, which is called in the connection's own thread."""
        self._handlers.append((pattern, handler))
        if self.connected:
            self._client.subscribe(pattern, QUALITY)

    def publish(self, topic: str, payload: bytes, reply_to: str = "", answered: Answer = unasked) -> bool:
        """Send a message; False where the broker is away or slower than the messages come."""
        from paho.mqtt.enums import MQTTErrorCode
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        if not self.connected:
            return False
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if reply_to:
            properties.ResponseTopic = reply_to
        result = self._client.publish(topic, payload, QUALITY, properties=properties)
        if result.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):  # the latter is kept
            return False
        with self._lock:
            heard = self._early.pop(result.mid, None)
            if heard is None:
                self._awaited[result.mid] = answered
        if heard is not None:
            answered(heard)
        return True

    def on_connect(self, call: Callable[[], None]) -> None:
        """Call a function now, if the broker is there, and after every reconnection."""
        self._on_connect.append(call)
        if self.connected:
            call()

    def close(self) -> None:
        """Say goodbye to the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        try:
            parts = urlsplit(self._address)
            port = parts.port or (TLS_PORT if parts.scheme == "mqtts" else PORT)
        except ValueError as error:
            raise _no_address(str(error)) from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise _no_address(f"'{public(self._address)}'")
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        fix, expected = "start one, or name another", f"an MQTT 5 broker at {parts.hostname}:{port}"
        try:
            self._client.connect(parts.hostname, port, clean_start=True)
        except (OSError, ValueError) as error:
            raise BadInput("--broker", expected=expected, got=str(error), fix=fix) from error
        self._client.loop_start()
        self._answered.wait(FIRST_WAIT_S)
        if not self.connected:
            self._client.disconnect()
            self._client.loop_stop()
            raise BadInput("--broker", expected=expected, got=self._refusal or "no answer", fix=fix)

    def _came(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"its refusal: {reason}"
            self._answered.set()
            return
        for pattern, _ in self._handlers:
            client.subscribe(pattern, QUALITY)
        for call in tuple(self._on_connect):
            call()
        self._connected.set()
        self._answered.set()

    def _went(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected.clear()

    def _acknowledged(self, client: Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        heard = not reason.is_failure and reason.value != NOBODY_LISTENS
        with self._lock:
            answered = self._awaited.pop(mid, None)
            if answered is None:
                self._early[mid] = heard
        if answered is not None:
            answered(heard)

    def _received(self, client: Client, userdata: Any, raw: MQTTMessage) -> None:
        reply_to = getattr(raw.properties, "ResponseTopic", "")
        for pattern, handler in tuple(self._handlers):
            if matches(pattern, raw.topic):
                handler(Message(raw.topic, bytes(raw.payload), reply_to))


def public(address: str) -> str:
    """An address without user and password."""
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _no_address(got: str) -> BadInput:
    return BadInput("--broker", expected="mqtt://host or mqtts://host", got=got, fix="as in mqtt://localhost:1883")
