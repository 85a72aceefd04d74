"""From captures to a stochastic device model that states what it knows."""
