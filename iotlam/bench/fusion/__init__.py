"""What suite `fusion` is made of: data whose truth is known, the network under test, and one file an experiment."""
