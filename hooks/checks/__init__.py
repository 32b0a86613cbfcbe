"""The checks a certificate is made of: each derives one claim about the sites anew, and compares.

What is under test is what `capture` returns. What it is compared with never comes from the search for sites: plain
forwards, the model's own outputs, and hooks of this package's own on what transformers names (`inputs_embeds`).
"""
