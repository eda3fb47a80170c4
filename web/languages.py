# ruff: noqa: RUF001  the punctuation of Chinese
"""The languages of the page: which one a visitor reads, and its words there.

English is written in the template itself; what the page's own modules say is in `static/js/phrases-*.js`.
"""

from collections.abc import Callable
from typing import Final

from flask import Request

COOKIE: Final = "sakuga_lang"
LANGUAGES: Final = {"en": "English", "zh": "中文"}
DEFAULT: Final = "en"

UNITS_S: Final = (24 * 3600, 3600, 60, 1)
UNITS: Final = {"en": ("days", "hours", "minutes", "seconds"), "zh": ("天", "小时", "分钟", "秒")}

CHINESE: Final = {
    "An example, photo by NASA. Drag the line.": "示例照片来自 NASA。拖动中间的线看看。",
    "Anime": "动漫",
    "Another photo": "换一张照片",
    "Cancel": "取消",
    "Choose a folder": "选择文件夹",
    "Choose photos": "选择照片",
    "Clear this list": "清空列表",
    "Close": "关闭",
    "Draw it": "开始绘制",
    "Draw it again": "重新绘制",
    "Drop it anywhere": "松手即可",
    "Drop photos or a folder here": "把照片或文件夹拖到这里",
    "Earlier, in this browser": "此浏览器中的最近记录",
    "Erase": "删除",
    "Erase this album?": "要删除这个相册吗？",
    "Format": "格式",
    "How much of the photo is shown beside the anime picture, in percent": "照片在动漫图旁显示的百分比",
    "It starts at once.": "选好后立即开始。",
    "JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP, up to {mib} MiB and {megapixels} megapixels; or ZIPs.": (
        "JPEG、PNG、WebP、HEIC、AVIF、TIFF、GIF 或 BMP，不超过 {mib} MiB、{megapixels} 百万像素；或 ZIP 压缩包。"
    ),
    "Its photos and pictures are erased from the service. What you saved stays with you.": (
        "服务中的照片和图片都会被删除；您已保存的不受影响。"
    ),
    "Keep it": "保留",
    "Large": "大",
    "Licence of its weights: {licence}": "模型权重许可：{licence}",
    "Luminous day, glowing dusk, or ink and wash.": "明亮的白昼、泛着光的黄昏，或是水墨。",
    "Medium": "中",
    "Start another": "再来一个",
    "Next": "下一张",
    "No preview of this photo here.": "此处无法预览这张照片。",
    "No style is installed on this service yet, so nothing can be drawn.": "服务尚未安装任何风格，暂时无法绘制。",
    "Photo": "照片",
    "A photo is erased once its picture is there, the picture after {time}.": (
        "图片完成后照片即被删除，图片会在 {time}后自动删除。"
    ),
    "Photos of the album": "相册中的照片",
    "Previous": "上一张",
    "Progress": "进度",
    "Sakuga draws your photos as anime pictures.": "Sakuga 把您的照片画成动漫。",
    "Sakuga: your photos, drawn as anime": "Sakuga：把照片画成动漫",
    "Save all": "全部保存",
    "Save picture": "保存图片",
    "Sign in": "登录",
    "Sign out": "退出",
    "Site": "网站",
    "Its picture will appear in this place.": "画好的图片会出现在这里。",
    "Size": "尺寸",
    "Small": "小",
    "Style": "风格",
    "The anime picture, after": "动漫图（之后）",
    "The longest side has at most {size} pixels": "最长边不超过 {size} 像素",
    "The photo, before": "照片（之前）",
    "This key is none of this service, or no longer.": "这个密钥不属于本服务，或已失效。",
    "This page needs JavaScript. Without it, the API takes photos too.": (
        "此页面需要 JavaScript；没有它也可以通过 API 发送照片。"
    ),
    "Try again": "重试",
    "Whoever runs this service gives out keys. This browser stays signed in for 30 days.": (
        "密钥由本服务的运营者发放。此浏览器会保持登录 30 天。"
    ),
    "Your key": "您的密钥",
    "Your photos,": "您的照片，",
    "drawn as anime.": "画成动漫。",
    "or paste one.": "或直接粘贴。",
    "quick": "快速",
    "thorough": "精细",
}

Words = Callable[[str], str]


def language_of(request: Request) -> str:
    """The language that was asked for, now or before, or else what the browser prefers."""
    for wanted in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    return request.accept_languages.best_match(list(LANGUAGES)) or DEFAULT


def words_of(language: str) -> Words:
    """What turns an English sentence of the template into one of this language."""
    return CHINESE.__getitem__ if language == "zh" else str


def time_in_words(seconds: int, language: str) -> str:
    """A time in the largest unit of which it has two or more."""
    units = zip(UNITS_S, UNITS[language], strict=True)
    unit_s, unit = next(one for one in units if seconds >= 2 * one[0] or one[0] == 1)
    return f"{round(seconds / unit_s)} {unit}"
