"""What the numbers mean: logits of windows become labels, scores and polarity of documents."""

from beam_bert.tasks.answering import AnswerTask
from beam_bert.tasks.classification import ClassificationTask
from beam_bert.tasks.sentiment import SentimentTask
from beam_bert.tasks.task import Task

__all__ = ["AnswerTask", "ClassificationTask", "SentimentTask", "Task"]
