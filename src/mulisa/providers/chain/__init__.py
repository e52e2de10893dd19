"""Several engines that stand in for each other: where one fails, the next takes over at once.

A chain is an STT, LLM or TTS itself. It bounds every wait, tries again where that can help, lets
an engine rest that fails, and tries it again later, so that the favourite comes back. A chain of
one engine is of use, too: it has the time-outs and the retries.
"""

from mulisa.providers.chain.llm import LLMChain
from mulisa.providers.chain.rota import ChainConfig
from mulisa.providers.chain.stt import STTChain
from mulisa.providers.chain.tts import TTSChain

__all__ = ["ChainConfig", "LLMChain", "STTChain", "TTSChain"]
