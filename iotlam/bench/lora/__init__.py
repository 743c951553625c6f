"""The parts of suite `lora`: labelled windows, the arms that learn them, and what an adapter must leave alone."""
