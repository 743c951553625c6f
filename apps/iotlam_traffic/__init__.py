"""Traffic signals decided from sensors: rivals, training, evaluation, the demo and its page."""
