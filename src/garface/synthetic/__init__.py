"""Images of heads whose shape is known, rendered by the classic renderer or by a renderer, to learn from."""
