def check(binary):
    return []
