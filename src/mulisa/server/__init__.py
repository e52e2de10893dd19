"""The gateway: page, API, tokens, mesh signalling relay and agent dispatch. No model runs here."""
