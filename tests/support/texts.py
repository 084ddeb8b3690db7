"""Texts of several kinds, for counting tokens. The first article of the Universal Declaration of Human Rights is in many scripts."""

# ruff: noqa: RUF001 - other scripts have letters that look like ours

from __future__ import annotations

import inspect
import json.decoder
from pathlib import Path

PROSE = "\n".join(path.read_text() for path in sorted(Path(__file__).parents[2].glob("[A-Z]*.md")))
CODE = inspect.getsource(json.decoder)
CHAT = (
    "You are a helpful assistant. Please summarise the following ticket in two sentences, and say whether it's urgent: the "
    "customer can't log in since yesterday's update, has reset the password twice, and isn't getting any e-mail. Order #48213."
)
CJK = """\
人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。
人人有资格享有本宣言所载的一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解、国籍或社会出身、财产、出生或其他身分等任何区别。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。
人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.
인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.
"""
OTHER_SCRIPTS = """\
Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении
друг друга в духе братства. Alle Menschen sind frei und gleich an Würde und Rechten geboren. Tous les êtres humains naissent libres et
égaux en dignité et en droits. Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Ὅλοι οἱ ἄνθρωποι.
يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ
ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით። 🙂👩‍💻🇩🇪 ½ ⅷ ²³ ٣٤ ①②
"""
ALL = {"prose": PROSE, "code": CODE, "chat": CHAT, "cjk": CJK, "other scripts": OTHER_SCRIPTS}
