"""Does the quality report notice what is wrong with a photo?"""
