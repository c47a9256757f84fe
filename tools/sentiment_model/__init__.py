"""How the embedded sentiment model was made: data, teacher, student, card."""
