"""From a photo to an aligned, fitted face: find, align, fit."""
