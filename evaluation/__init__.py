"""Ask the model itself: vision-language models, text-only models, servers, dual encoders."""
