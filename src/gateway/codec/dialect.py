from gateway.base.dialect import AnswerError, Dialect, StreamReader, StreamWriter, ToldError

__all__ = ["AnswerError", "Dialect", "StreamReader", "StreamWriter", "ToldError"]
