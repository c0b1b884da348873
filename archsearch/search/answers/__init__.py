"""What a study or space says: recommendations, reasons, explanations."""
