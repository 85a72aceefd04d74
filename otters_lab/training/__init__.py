"""Tasks, distillation, hybrid training and evaluation under device noise."""
