"""The question bank: four-choice questions about images and leaves, and the prompts that put them."""
