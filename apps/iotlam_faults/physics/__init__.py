"""What mechanics says of a machine: orders at which its faults return, and how clearly they do."""
