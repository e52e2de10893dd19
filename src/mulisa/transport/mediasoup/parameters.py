"""What mediasoup's objects say of themselves, read from JSON, and what we say of ours. Pure.

A server's words are checked here, once, before anything is made of them. What is not named here
is ignored: mediasoup gains fields from version to version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from mulisa.core.audio import SAMPLE_RATE_HZ
from mulisa.core.errors import TransportError

Json: TypeAlias = Mapping[str, Any]
"""An object as it comes from JSON or goes there, with mediasoup's own names in it."""

OPUS: Final = "audio/opus"
AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""RFC 6464; without it the server's observers take a voice for silence."""
OPUS_CHANNELS: Final = 2
"""What Opus is called in signalling, also in mono (RFC 7587, 7)."""
AUDIO_LEVEL_ID: Final = 1
"""Ours to choose for what we send."""
MAX_ID_CHARS: Final = 256

Id: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
Ssrc: TypeAlias = Annotated[int, Field(ge=0, le=0xFFFFFFFF, strict=True)]
PayloadType: TypeAlias = Annotated[int, Field(ge=0, le=127, strict=True)]
IceText: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/=_-]{1,256}$")]


class Wire(BaseModel):
    """JSON of others: camelCase, unknown fields ignored, no input in what is said of it."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        alias_generator=to_camel,
        populate_by_name=True,
    )


class IceParameters(Wire):
    """Credentials of the server's end."""

    username_fragment: IceText
    password: IceText
    ice_lite: bool = True


class IceCandidate(Wire):
    """One address of the server."""

    host: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$"),
        Field(validation_alias=AliasChoices("address", "ip", "host")),
    ]
    """An IP address or a name (``address``, or ``ip`` before mediasoup 3.13)."""
    port: Annotated[int, Field(ge=1, le=65_535, strict=True)]
    protocol: Literal["udp", "tcp"] = "udp"
    priority: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 1
    foundation: Annotated[str, StringConstraints(max_length=64)] = "0"


class DtlsFingerprint(Wire):
    """The hash of the server's certificate."""

    algorithm: Annotated[str, StringConstraints(to_lower=True, max_length=16)]
    value: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:]{8,200}$")]


class DtlsParameters(Wire):
    """Who is at the other end."""

    fingerprints: Annotated[tuple[DtlsFingerprint, ...], Field(min_length=1, max_length=8)]


class SctpParameters(Wire):
    """Data channels go with the media."""

    port: Literal[5000] = 5000


class TransportOptions(Wire):
    """A WebRtcTransport that the server has made for us."""

    id: Id = Field(validation_alias=AliasChoices("id", "transportId"))
    ice_parameters: IceParameters
    ice_candidates: Annotated[tuple[IceCandidate, ...], Field(min_length=1, max_length=64)]
    dtls_parameters: DtlsParameters
    sctp_parameters: SctpParameters | None = None


class Codec(Wire):
    """A codec of a router or of a stream."""

    mime_type: Annotated[str, StringConstraints(to_lower=True, max_length=64)]
    clock_rate: int = 0
    channels: int = 1
    payload_type: PayloadType = Field(
        default=0, validation_alias=AliasChoices("payloadType", "preferredPayloadType")
    )


class HeaderExtension(Wire):
    """An RTP header extension that a router passes on."""

    uri: str
    kind: str = ""
    preferred_id: Annotated[int, Field(ge=1, le=255)] = 1


class RouterCapabilities(Wire):
    """What a router can forward."""

    codecs: tuple[Codec, ...]
    header_extensions: tuple[HeaderExtension, ...] = ()


class Encoding(Wire):
    """One RTP stream."""

    ssrc: Ssrc


class RtpParameters(Wire):
    """How a consumer's packets look."""

    codecs: Annotated[tuple[Codec, ...], Field(min_length=1)]
    encodings: Annotated[tuple[Encoding, ...], Field(min_length=1)]


_Model = TypeVar("_Model", bound=Wire)


def parse(model: type[_Model], data: object, what: str) -> _Model:
    """Raises TransportError that says which field of what is wrong, and nothing of its content."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise TransportError(
            f"the server sent {what} that is none: {where}: {first['msg']}", retryable=False
        ) from None


class OpusParameters:
    """Opus, as one router names it."""

    def __init__(self, router: RouterCapabilities) -> None:
        """Raises TransportError if the router does not forward Opus."""
        opus = next((each for each in router.codecs if each.mime_type == OPUS), None)
        if opus is None:
            raise TransportError(
                "the room's router has no Opus among its mediaCodecs, and Mulisa has no other",
                retryable=False,
            )
        self._codec = opus
        self._has_levels = any(each.uri == AUDIO_LEVEL for each in router.header_extensions)

    @property
    def payload_type(self) -> int:
        """Of what we send."""
        return self._codec.payload_type

    @property
    def level_id(self) -> int | None:
        """The extension in which we tell how loud we are; None if the router has none."""
        return AUDIO_LEVEL_ID if self._has_levels else None

    def capabilities(self) -> Json:
        """What we can consume: Opus and nothing else, so that no video is sent to us."""
        codec = {
            "kind": "audio",
            "mimeType": OPUS,
            "preferredPayloadType": self.payload_type,
            "clockRate": SAMPLE_RATE_HZ,
            "channels": OPUS_CHANNELS,
            "parameters": {"useinbandfec": 1},
            "rtcpFeedback": [],
        }
        return {"codecs": [codec], "headerExtensions": []}

    def sending(self, ssrc: int, cname: str) -> Json:
        """The ``rtpParameters`` of a producer: mono speech that is often silent.

        Without ``dtx`` mediasoup holds back the first packets after a silence.
        """
        codec = {
            "mimeType": OPUS,
            "payloadType": self.payload_type,
            "clockRate": SAMPLE_RATE_HZ,
            "channels": OPUS_CHANNELS,
            "parameters": {"useinbandfec": 1, "usedtx": 1},
            "rtcpFeedback": [],
        }
        level = {"uri": AUDIO_LEVEL, "id": AUDIO_LEVEL_ID, "encrypt": False, "parameters": {}}
        return {
            "codecs": [codec],
            "headerExtensions": [level] if self._has_levels else [],
            "encodings": [{"ssrc": ssrc, "dtx": True}],
            "rtcp": {"cname": cname, "reducedSize": True},
        }
