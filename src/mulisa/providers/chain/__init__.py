"""Several engines that stand in for each other: where one fails, the next takes over at once.

A chain is an STT, LLM or TTS itself. It bounds every wait, tries again where that can help, lets
an engine rest that fails, and tries it again later, so that the favourite comes back. A chain of
one engine is of use, too: it has the time-outs and the retries.
"""
