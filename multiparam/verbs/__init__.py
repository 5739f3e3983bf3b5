"""What users call: one module for each verb."""
