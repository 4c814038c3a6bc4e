"""Photos become found, aligned and fitted faces; training sets."""
