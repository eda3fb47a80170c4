# ruff: noqa: RUF001  the punctuation of Chinese
"""The operations of the API in Chinese, with what is answered and sent to webhooks, by their English."""

from typing import Final

_OPERATIONS: Final = {
    "Photos in, anime pictures out. Errors are application/problem+json with a stable `code`. "
    "Where the operator requires API keys, send one with every request: `Authorization: Bearer <key>`.": (
        "上传照片，得到动漫图片。错误以 application/problem+json 返回，其中 `code` 固定不变。"
        "如果运营者要求使用 API 密钥，请在每个请求中附上：`Authorization: Bearer <key>`。"
    ),
    "Add a photo by name": "按名称添加照片",
    "Add several photos, or ZIP archives of them": "添加多张照片或照片的 ZIP 压缩包",
    "Any string of up to 255 characters; the same key and photo return the same job": (
        "不超过 255 个字符的任意字符串；用同一个键再次发送同一张照片，会得到同一个任务"
    ),
    "Cancel a job": "取消任务",
    "Cancel an album": "取消相册的绘制",
    "Check which photos are missing": "查询还缺少哪些照片",
    "Convert a photo": "绘制一张照片",
    "Create an album": "新建相册",
    "Creates another album of the same photos, which are not uploaded again. This takes an album that was created with "
    "`keep_photos`, until its photos expire. They are added within seconds; until then, `pending` has `redraw`.": (
        "用同一批照片新建一个相册，无需再次上传。原相册必须是以 `keep_photos` 创建的，并且照片尚未过期。"
        "照片会在几秒内加入；在此之前，`pending` 中有 `redraw`。"
    ),
    "Delete a job with its photo and picture": "删除任务及其照片和图片",
    "Delete an album with its photos and pictures": "删除相册及其全部照片和图片",
    "Download a style's preview picture": "下载风格的预览图",
    "Download all pictures as a ZIP archive": "把全部图片下载为 ZIP 压缩包",
    "Download a preview": "下载一张预览图",
    "Download the picture": "下载图片",
    "Draws the photo small in several styles, to choose from; together they take about as long as one picture. This is "
    "a job like any other: it counts towards quotas, expires, and can be followed, canceled and deleted under "
    "`/api/v1/jobs`. Its result is a ZIP archive of the previews.": (
        "用多种风格把照片画成小图，供您挑选；全部画完所需的时间与画一张图片相当。"
        "这也是一个普通的任务：计入配额，会过期，可以通过 `/api/v1/jobs` 跟踪、取消和删除。"
        "其结果是包含全部预览图的 ZIP 压缩包。"
    ),
    "Draw an album in another style": "用另一种风格重画相册",
    "Get a job": "查询任务",
    "Get a photo's previews": "查询照片的预览图",
    "Get an album": "查询相册",
    "Get queue and worker statistics": "查询队列和工作进程的统计数据",
    "Get the service's limits": "查询服务的各项限制",
    "List an album's photos": "列出相册中的照片",
    "List styles": "列出风格",
    "List your jobs, newest first": "列出您的任务，最新的在前",
    "Liveness check": "存活检查",
    "Preview a photo in all styles": "预览照片的各种风格",
    "Prometheus metrics": "Prometheus 指标",
    "Readiness check": "就绪检查",
    "Rename an album": "重命名相册",
    "Resume after this event": "从此事件之后继续",
    "Retry an album's failed photos": "重试相册中失败的照片",
    "Stream a job's events": "订阅任务的事件流",
    "Stream an album's events": "订阅相册的事件流",
    "With `Accept: image/*`, the answer is the picture itself if it is ready within 30 seconds, or within the time of "
    "`Prefer`. Otherwise it is the job, with status 202, as for all other clients: check the status or the "
    "`Content-Type` before you use what you have saved. A failed conversion gets the same error as its `result`. "
    "Without `format`, `Accept` chooses the format, too (`image/png`). Clients that like JSON as much (`*/*`) get the "
    "job.": (
        "使用 `Accept: image/*` 时，如果图片在 30 秒内（或 `Prefer` 给出的时间内）画好，就直接返回图片本身。"
        "否则与其他客户端一样，返回任务和状态码 202，因此使用保存的文件前，请先检查状态码或 `Content-Type`。"
        "绘制失败时，返回与其 `result` 相同的错误。未指定 `format` 时，格式也由 `Accept` 决定（`image/png`）。"
        "同样接受 JSON 的客户端（`*/*`）得到的是任务。"
    ),
    "`wait=20` waits up to 20 seconds for the job to finish; the maximum is 30": (
        "`wait=20` 表示最多等待 20 秒，直到任务结束；上限为 30 秒"
    ),
}

_ANSWERS: Final = {
    "A damaged image, an unknown style or field, or a value out of range": (
        "图片已损坏、风格或字段未知，或取值超出范围"
    ),
    "API key missing, invalid or revoked": "缺少 API 密钥，或密钥无效、已被撤销",
    "Accepted": "已接受",
    "Accepted; Location is its URL and Retry-After says when to poll": (
        "已接受；Location 是其 URL，Retry-After 是建议的轮询时间"
    ),
    "Created; Location is its URL": "已创建；Location 是其 URL",
    "Expired": "已过期",
    "If-Match or If-Unmodified-Since does not match": "不符合 If-Match 或 If-Unmodified-Since 的条件",
    "Location is a URL of the picture, valid for five minutes": "Location 是图片的 URL，五分钟内有效",
    "Malformed request": "请求格式有误",
    "No content": "无内容",
    "Not an image, or an unsupported format": "不是图片，或不支持该格式",
    "Not found": "未找到",
    "Not modified": "未修改",
    "Not possible in the job's state": "任务处于当前状态时无法执行",
    "Nothing that Accept includes is available": "Accept 中列出的类型都无法提供",
    "OK": "成功",
    "OK; Location is its URL": "成功；Location 是其 URL",
    "Queue full or service unavailable; Retry-After says when to try again": (
        "队列已满或服务暂不可用；请在 Retry-After 所示时间后重试"
    ),
    "Rate limit or quota exceeded; Retry-After says when to try again": (
        "请求过于频繁或配额已用完；请在 Retry-After 所示时间后重试"
    ),
    "Request too slow": "请求发送过慢",
    "The key lacks the required scope, or the request comes from another web site": (
        "密钥没有所需的权限，或请求来自其他网站"
    ),
    "The range is beyond the end of the picture": "请求的范围超出了图片末尾",
    "The requested range of the picture": "图片中所请求的范围",
    "Too many bytes or megapixels": "文件大小或像素数超过上限",
}

_WEBHOOKS: Final = {
    "An album has finished": "相册处理完毕",
    "Sent about five seconds after all photos of an album have finished, and again when photos that were added or "
    "retried later have finished. `webhook` of `POST /api/v1/albums` sets the URL; messages are signed with the "
    "`webhook_secret` of its response, following Standard Webhooks 1.0 (https://www.standardwebhooks.com).": (
        "在相册的全部照片处理完毕约五秒后发送；之后添加或重试的照片处理完毕时会再次发送。"
        "URL 由 `POST /api/v1/albums` 的 `webhook` 指定；消息按 Standard Webhooks 1.0"
        "（https://www.standardwebhooks.com）用响应中的 `webhook_secret` 签名。"
    ),
    "Respond with any 2xx within 10 seconds. Anything else, redirects included, counts as a failed delivery. "
    "There are up to 8 attempts, with delays that grow from 5 seconds to 10 hours, for as long as pictures are kept. "
    "Duplicates have the same `webhook-id`.": (
        "请在 10 秒内以任意 2xx 状态码响应，其他响应（包括重定向）都视为投递失败。"
        "在图片的保留期内最多投递 8 次，间隔从 5 秒逐步增加到 10 小时。重复的消息具有相同的 `webhook-id`。"
    ),
    "Only public addresses are called, and hosts that the operator lists in `SAKUGA_WEBHOOK_HOSTS`.": (
        "只会调用公网地址，以及运营者在 `SAKUGA_WEBHOOK_HOSTS` 中列出的主机。"
    ),
    "Unique to the message; the same for every delivery attempt": "消息的唯一标识，每次投递都相同",
    "When this attempt was made, in Unix seconds": "本次投递的时间，以 Unix 秒表示",
    "`v1,` and the Base64-encoded HMAC-SHA256 of id, timestamp and body, joined by dots": (
        "`v1,` 加上 Base64 编码的 HMAC-SHA256，其输入是用点号连接的标识、时间戳和正文"
    ),
}


CHINESE_OPERATIONS: Final = _OPERATIONS | _ANSWERS | _WEBHOOKS
