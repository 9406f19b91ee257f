"""The models, one transformers-style folder each: tensors in, tensors out.

`cinedub` is the dubbing model, `campplus` its speaker encoder, `speech_tokenizer` makes the speech tokens it is trained on.
Importing a folder registers its classes with transformers' Auto classes. Nothing here knows of processors or media files.
"""
