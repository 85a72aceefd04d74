"""Where rooms meet: a sweep on a bench, calibrated training, the demo."""
