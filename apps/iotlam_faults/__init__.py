"""Machine faults from vibration and motor current: what is damaged, how sure that is, and what it rests on."""
