"""What else OpenAI's platform answers, and whoever is compatible: moderations, images, speech. None of it is translated.

moderations    `/v1/moderations`
images         `/v1/images/generations`
speech         `/v1/audio/speech`
"""
