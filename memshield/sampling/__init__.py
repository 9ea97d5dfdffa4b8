"""Pictures from a trained or published model, each compared with the training pictures."""
