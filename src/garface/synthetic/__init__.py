"""Pictures of heads whose shape is known, drawn by graphics rules or by a renderer, to learn from."""
