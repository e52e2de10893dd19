"""Every exception that Mulisa raises on purpose.

::

    MulisaError
    +-- ConfigError                 a setting, a file or an option is wrong
    +-- InputError                  somebody outside sent what we cannot accept
    |   +-- TokenError              a token is missing, expired, foreign or not for this room
    |   +-- SignalingError          a signalling message breaks the protocol
    +-- TransportError              media or signalling failed          (retryable)
    |   +-- NegotiationError        offer, answer or candidate could not be applied
    |   +-- ConnectionLost          what was connected no longer is
    +-- ProviderError               an engine failed                    (retryable)
        +-- ProviderTimeout         it did not answer in time
        +-- ProviderUnavailable     it is not installed, not reachable or refuses us
            +-- BudgetSpent         it may not be used: the room's budget is used up

A message says what was tried, what was found and what to do.
"""

from __future__ import annotations

from mulisa.core.secrets import conceal


class MulisaError(Exception):
    """Root of all errors that Mulisa raises on purpose."""


class ConfigError(MulisaError):
    """A setting, a file or an option is wrong; the message says which and how to mend it."""


class InputError(MulisaError):
    """Somebody outside sent what we cannot accept; the message is safe to send back."""


class TokenError(InputError):
    """A token is missing, expired, signed by somebody else, or not for this room."""


class SignalingError(InputError):
    """A signalling message breaks the protocol (docs/protocol.md)."""


class TransportError(MulisaError):
    """Media or signalling failed."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class NegotiationError(TransportError):
    """An offer, an answer or a candidate could not be applied."""


class ConnectionLost(TransportError):
    """What was connected no longer is."""


class ProviderError(MulisaError):
    """An engine failed. A service may repeat the key that it refuses; the message does not."""

    def __init__(
        self, message: str, *, retryable: bool = True, retry_after: float | None = None
    ) -> None:
        """`retry_after`: seconds that the service itself asks to be left alone."""
        super().__init__(conceal(message))
        self.retryable = retryable
        self.retry_after = retry_after


class ProviderTimeout(ProviderError):
    """An engine did not answer in time."""


class ProviderUnavailable(ProviderError):
    """An engine is not installed, not reachable, or refuses us."""

    def __init__(
        self, message: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after=retry_after)


class BudgetSpent(ProviderUnavailable):
    """Nothing that costs money may be used for a room any more; the engine itself is well."""
