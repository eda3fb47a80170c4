# ruff: noqa: RUF001  the punctuation of Chinese
"""The languages of the pages: detection and translations.

English is written in the templates themselves; what the page's own modules say is in `static/js/phrases-*.js`, and the
API page in Chinese in `chinese_reference.py`.
"""

from collections.abc import Callable
from typing import Final

from flask import Request, Response

from web.chinese_reference import CHINESE_REFERENCE

COOKIE: Final = "sakuga_lang"
LANGUAGES: Final = {"en": "English", "zh": "中文"}
DEFAULT: Final = "en"
YEAR_S: Final = 365 * 24 * 3600

UNITS_S: Final = (24 * 3600, 3600, 60, 1)
UNITS: Final = {"en": ("days", "hours", "minutes", "seconds"), "zh": ("天", "小时", "分钟", "秒")}

CHINESE: Final = {
    "Example photo by NASA. Drag the line to compare.": "示例照片来自 NASA，拖动中间的线即可对比。",
    "Anime": "动漫",
    "Another photo": "换一张照片",
    "Cancel": "取消",
    "Copy": "复制",
    "Crop or rotate": "裁剪或旋转",
    "Draw a frame around the part to keep.": "拖动画出要保留的部分。",
    "Rotate left": "向左旋转",
    "Rotate right": "向右旋转",
    "The arrow keys move it, and resize it with Shift.": "方向键可移动选框，按住 Shift 可调整大小。",
    "The part to keep": "要保留的部分",
    "Rename": "重命名",
    "Rename this album": "重命名相册",
    "Save before and after": "保存对比图",
    "Share": "分享",
    "Take a photo": "拍照",
    "Zoom": "缩放",
    "{size} px": "{size} 像素",
    "Choose a folder": "选择文件夹",
    "Choose photos": "选择照片",
    "Clear this list": "清空列表",
    "Close": "关闭",
    "Draw it": "开始绘制",
    "Detailed": "精细",
    "Drop it anywhere": "松手即可",
    "Faces": "人脸",
    "Like the rest": "不单独处理",
    "Small faces get eyes, large ones lines that suit them": "小脸也有清晰的眼睛，大脸的线条也更合适",
    "The whole photo is drawn at one scale": "整张照片按同一比例绘制",
    "Drop photos or a folder here": "把照片或文件夹拖到这里",
    "Recent in this browser": "本浏览器的最近记录",
    "Delete": "删除",
    "Delete this album?": "要删除这个相册吗？",
    "Format": "格式",
    "How much of the photo is shown next to the anime picture, in percent": "对比图中照片所占的百分比",
    "Drawing starts right away.": "选好后立即开始绘制。",
    "JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF and more, up to {mib} MiB and {megapixels} megapixels, or ZIP archives.": (
        "支持 JPEG、PNG、WebP、HEIC、AVIF、TIFF、GIF 等格式，单张不超过 {mib} MiB、{megapixels_zh} 万像素；"
        "也支持 ZIP 压缩包。"
    ),
    "Its photos and pictures are deleted from the service. Pictures you have saved are not affected.": (
        "服务器上的照片和图片都会被删除，您已保存的图片不受影响。"
    ),
    "Keep it": "保留",
    "Keep the photos of an album as long as its pictures, so that they can be drawn in another style.": (
        "相册的照片与图片保留同样久，以便换一种风格重画。"
    ),
    "The photos are kept as long as the pictures. Draw them in another style:": (
        "照片会与图片保留同样久，可以换一种风格重画："
    ),
    "Large": "大",
    "Licence of the weights: {licence}": "模型权重许可证：{licence}",
    "New album": "新建相册",
    "Next": "下一张",
    "This photo can't be previewed here.": "无法在此预览这张照片。",
    "No styles are installed on this service yet, so nothing can be drawn.": "服务尚未安装任何风格，暂时无法绘制。",
    "Photo": "照片",
    "Photos are deleted once their picture is done, unless their album keeps them; pictures after {time}.": (
        "图片画好后，照片随即删除，相册设为保留的除外；图片保留 {time}。"
    ),
    "Photos in this album": "相册中的照片",
    "Previous": "上一张",
    "Progress": "进度",
    "Sakuga draws your photos as anime pictures.": "Sakuga 把您的照片画成动漫。",
    "Sakuga: your photos, drawn as anime": "Sakuga：把照片画成动漫",
    "Save all": "全部保存",
    "Save picture": "保存图片",
    "Sign in": "登录",
    "Sign out": "退出",
    "Site": "站点导航",
    "The picture will appear here.": "画好的图片会出现在这里。",
    "Size": "尺寸",
    "Style": "风格",
    "After: the anime picture": "动漫图",
    "Original": "原图",
    "Standard": "标准",
    "full size": "原尺寸",
    "As large as the photo, up to {size} pixels": "与照片一样大，最长边不超过 {size} 像素",
    "Longest side up to {size} pixels": "最长边不超过 {size} 像素",
    "Before: the photo": "原照片",
    "This key isn't valid here, or was revoked.": "密钥无效或已被撤销。",
    "This page needs JavaScript. Without it, you can use the API.": "此页面需要启用 JavaScript；您也可以直接使用 API。",
    "Try again": "重试",
    "Ask whoever runs this service for a key. This browser stays signed in for 30 days.": (
        "请向本服务的运营者索取密钥。登录后，此浏览器会保持登录 30 天。"
    ),
    "Your key": "您的密钥",
    "Your photos,": "您的照片，",
    "drawn as anime.": "画成动漫。",
    "or paste one.": "或直接粘贴。",
    "fast": "快速",
    "full": "完整",
}

CHINESE_DESCRIPTIONS: Final = {
    "a luminous day: clear colours, azure skies, blue-violet shadows": "明媚的白昼：色彩清澈，碧空如洗，阴影泛着蓝紫",
    "dusk: violet-blue shadows, rosy skies, light that glows": "黄昏：紫蓝色的阴影，玫瑰色的天空，流光溢彩",
    "ink and wash: brush lines and tinted washes on paper": "水墨：纸上的笔触与淡彩",
    "ink and wash: brush lines over pale washes, on paper": "水墨：纸上的笔触与浅墨",
}

Words = Callable[[str], str]


def language_of(request: Request) -> str:
    """Return the language that was chosen, now or before, or else the one that the browser prefers."""
    for wanted in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    return request.accept_languages.best_match(list(LANGUAGES)) or DEFAULT


def tell_language(response: Response, language: str, request: Request) -> Response:
    """Name the language of a page in its headers, and remember it if the reader chose it just now."""
    response.headers["Content-Language"] = language
    response.vary.update(("Accept-Language", "Cookie"))
    if request.args.get("lang") == language:
        response.set_cookie(COOKIE, language, max_age=YEAR_S, httponly=True, samesite="Lax")
    return response


def words_of(language: str) -> Words:
    """Return the function that translates an English sentence of the template into this language."""
    return CHINESE.__getitem__ if language == "zh" else str


def reference_words_of(language: str) -> Words:
    """Return the function that translates an English text of the API page; one without a translation stays English."""
    return (lambda text: CHINESE_REFERENCE.get(text, text)) if language == "zh" else str


def description_in(language: str, description: str) -> str:
    """Return the description of a style as a sentence, translated if it is a bundled one."""
    if language == "zh" and description in CHINESE_DESCRIPTIONS:
        return f"{CHINESE_DESCRIPTIONS[description]}。"
    return f"{description[:1].upper()}{description[1:]}." if description else ""


def time_in_words(seconds: int, language: str) -> str:
    """Format a time in the largest unit of which it has two or more."""
    units = zip(UNITS_S, UNITS[language], strict=True)
    unit_s, unit = next(one for one in units if seconds >= 2 * one[0] or one[0] == 1)
    return f"{round(seconds / unit_s)} {unit}"
