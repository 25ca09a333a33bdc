"""Time: epochs, steps, schedules, stopping, saving. Knows nothing of images, texts, freezing or what a loss is."""
