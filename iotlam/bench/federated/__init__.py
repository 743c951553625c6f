"""What suite `fed-faults` needs: a fleet whose processes are killed, attackers, trials on Flower's servers."""
