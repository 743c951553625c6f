"""Pages one can send on: one HTML file each, in one style, that refers to nothing outside itself."""
