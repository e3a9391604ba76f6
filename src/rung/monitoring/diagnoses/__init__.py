"""Diagnoses: possible causes of an incident, one file each. Each reads the evidence and answers a finding or nothing."""
