"""What a model is worth: value matrix, cost ledger, value report, retraining decisions and rehearsal.

Measured money and estimated money are never added up. Every figure names its basis. A decision to retrain needs a
curable cause, mature labels and a gain whose lower bound covers its cost.
"""
