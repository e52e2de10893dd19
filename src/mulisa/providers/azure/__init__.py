"""Azure: Speech, Azure OpenAI and Voice Live; the Speech SDK comes with the extra ``azure``."""
