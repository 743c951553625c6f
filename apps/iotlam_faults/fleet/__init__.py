"""Eight devices that learn one model of faults, and the page that shows it."""
