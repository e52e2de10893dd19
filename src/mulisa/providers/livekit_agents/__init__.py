"""Any plugin of LiveKit Agents as an engine: ``livekit:deepgram/nova-3``, and the like.

The only place that knows `livekit.agents`, and that imports it when such an engine is loaded. What
a plugin needs is installed by whoever wants it: ``pip install livekit-agents
livekit-plugins-deepgram``.
"""

from mulisa.providers.livekit_agents.llm import LiveKitLLM
from mulisa.providers.livekit_agents.stt import LiveKitSTT
from mulisa.providers.livekit_agents.tts import LiveKitTTS

__all__ = ["LiveKitLLM", "LiveKitSTT", "LiveKitTTS"]
