"""OpenAI and whatever speaks its protocol; one file per engine, `connection` for all of them."""
