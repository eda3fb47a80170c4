# ruff: noqa: RUF001  the punctuation of Chinese
"""The API page in Chinese, by the English in its templates and in the OpenAPI document, which is in English only."""

from typing import Final

_PAGE: Final = {
    "Body": "正文",
    "Body as {kind}": "请求正文（{kind}）",
    "Code": "代码",
    "Contents": "目录",
    "Description": "说明",
    "Errors": "错误",
    "Errors are `application/problem+json`: `code` is stable, `detail` says what is allowed.": (
        "错误以 `application/problem+json` 返回：`code` 固定不变，`detail` 用英文说明允许的取值。"
    ),
    "Field": "字段",
    "Headers": "请求头",
    "In": "位置",
    "Machine-readable:": "机器可读的版本：",
    "Name": "名称",
    "Parameters": "参数",
    "Responses": "响应",
    "Schemas": "数据结构",
    "Site": "站点导航",
    "Status": "状态码",
    "The API": "API 文档",
    "The HTTP API of Sakuga: photos in, anime pictures out.": "Sakuga 的 HTTP API：上传照片，得到动漫图片。",
    "The file itself, with options as query parameters.": "文件本身，选项写在查询参数中。",
    "The file itself.": "文件本身。",
    "Type": "类型",
    "Webhooks": "Webhook",
    "header": "请求头",
    "path": "路径",
    "query": "查询",
    "required": "必填",
    "to the URL given as `webhook`": "发送到 `webhook` 给出的 URL",
    "{type} as {kind}": "{type}，格式为 {kind}",
}

_SCHEMAS: Final = {
    "At most {count} characters.": "最多 {count} 个字符。",
    "Default {value}.": "默认值为 {value}。",
    "anything": "任意值",
    "array of {items}": "{items} 的数组",
    "file": "文件",
    "map of {values}": "值为 {values} 的对象",
    "{least} to {most}.": "取值范围为 {least} 到 {most}。",
    " or ": " 或 ",
}

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

_FIELDS: Final = {
    "A URL to notify when all photos have finished.": "全部照片处理完毕后要通知的 URL。",
    "A name for the album.": "相册的名称。",
    "A name from GET /styles, where `sumi` is short for `sumi-light`; omit for the default.": (
        "GET /styles 返回的名称，其中 `sumi` 是 `sumi-light` 的简写；省略则使用默认风格。"
    ),
    "Combined speed of all processes in the default style; null until measured.": (
        "全部进程使用默认风格时的总速度；尚未测得时为 null。"
    ),
    "Cost: 10^9 multiply-adds per megapixel drawn.": "计算量：每绘制一百万像素所需的乘加次数，以 10^9 计。",
    "A name from GET /styles, where `sumi` is short for `sumi-light`.": (
        "GET /styles 返回的名称，其中 `sumi` 是 `sumi-light` 的简写。"
    ),
    "Default: that of the album.": "默认与原相册相同。",
    "Keep the photos as long as their pictures, so that they can be drawn again.": ("照片与图片保留同样久，以便重画。"),
    "Whether the photos are kept, and can be drawn again.": "照片是否保留，能否重画。",
    "Estimated seconds until all have finished; null if unknown.": "预计全部完成所需的秒数；未知时为 null。",
    "Estimated seconds until it is done; null if unknown.": "预计完成所需的秒数；未知时为 null。",
    "Extended with every photo that is added.": "每添加一张照片都会顺延。",
    "Its name in the album, possibly sanitised.": "照片在相册中的名称，其中不允许的字符可能已被替换。",
    "Jobs per page.": "每页的任务数。",
    "Longest side of the picture in pixels; photos are never enlarged. `original` stands for the maximum.": (
        "图片最长边的像素数；照片不会被放大。`original` 代表最大值。"
    ),
    "Mean error of a job's first `eta_s`, as a share of its actual time.": (
        "任务最初的 `eta_s` 与实际用时的平均误差，以实际用时的比例表示。"
    ),
    "Measured on this service for one process; null until known.": "在本服务上测得的单进程速度；未知时为 null。",
    "Measured speed of one process, by style.": "各风格测得的单进程速度。",
    "Names from GET /styles, separated by commas; omit for all light styles.": (
        "GET /styles 返回的名称，以逗号分隔；省略则使用全部 light 风格。"
    ),
    "One for each style; empty until all are drawn.": "每种风格一张；全部画好之前为空。",
    "Photos per page.": "每页的照片数。",
    "Position in the queue: 1 is next, 0 is being converted.": "在队列中的位置：1 为下一个，0 为正在绘制。",
    "Remarks on the conversion, e.g. that only the first frame was used.": "关于绘制的备注，例如只使用了第一帧。",
    "SHA-256 digests of photos, in hex.": "照片的 SHA-256 摘要，十六进制。",
    "Share of the photos that have finished.": "已处理完毕的照片所占的比例。",
    "Stable error code; listed in the documentation.": "固定不变的错误代码，见文档中的列表。",
    "The URL of a JPEG of up to 256 pixels on its longest side.": "JPEG 图片的 URL，最长边不超过 256 像素。",
    "The code of an error, or `hidden`.": "错误代码，或 `hidden`。",
    "The secret that signs its webhook (Standard Webhooks); shown only once.": (
        "为其 webhook 签名的密钥（Standard Webhooks），只显示这一次。"
    ),
    "The styles of previews; empty for a picture.": "预览图的各种风格；普通图片为空。",
    "True once canceled; a running job stops at its next stage.": "取消后为 true；正在运行的任务会在下一阶段停止。",
    "What is left of the quota until midnight UTC; null if unlimited.": (
        "到 UTC 零点为止剩余的配额；没有限制时为 null。"
    ),
    "What is still being done with all photos; `erase` ends with the album.": (
        "仍在对全部照片进行的操作；`erase` 完成后，相册也随之删除。"
    ),
    "What its pictures look like.": "图片的画风。",
    "When this was detected.": "检测到的时间。",
    "When to send it again; null if that would not help.": "多少秒后可以再次发送；再次发送也无济于事时为 null。",
    "Whether a browser should save the picture instead of showing it.": "浏览器是否应保存图片，而不是直接显示。",
    "Your quota, counted in pixels of pictures; null if unlimited.": "您的配额，按图片像素数计算；没有限制时为 null。",
    "Your rate limit; null if unlimited.": "您的请求频率上限；没有限制时为 null。",
    "`next_cursor` of the previous page.": "上一页的 `next_cursor`。",
    "auto: faces are drawn at a size that suits them, where the style can; off: with the rest.": (
        "auto：人脸按适合的大小绘制（需风格支持）；off：与照片的其余部分一同绘制。"
    ),
    "png and webp keep transparency.": "png 和 webp 可保留透明效果。",
}

_MODELS: Final = {
    "A caller's jobs, newest first.": "调用者的任务，最新的在前。",
    "A new album.": "新建的相册。",
    "A photo of an album: its job, or why it was rejected.": "相册中的一张照片：对应的任务，或被拒绝的原因。",
    "A photo as a style would draw it.": "一种风格画出的照片小样。",
    "A style and its weights.": "一种风格及其模型权重。",
    "All photos of an album have finished.": "相册的全部照片已处理完毕。",
    "An album's photos, in the order they were added.": "相册中的照片，按添加顺序排列。",
    "An error, following RFC 9457.": "符合 RFC 9457 的错误。",
    "Many photos and their conversion.": "多张照片及其绘制情况。",
    "One photo and its conversion.": "一张照片及其绘制情况。",
    "One photo and its previews, which are drawn in one job; its result is a ZIP archive of them.": (
        "一张照片及其预览图，由同一个任务画出；任务的结果是包含这些预览图的 ZIP 压缩包。"
    ),
    "Photos by state; rejected ones count as failed.": "各状态的照片数；被拒绝的照片计为失败。",
    "Queue and worker statistics.": "队列和工作进程的统计数据。",
    "Readiness, by component.": "各组件的就绪情况。",
    "The accepted and rejected photos of an upload, and the files of its archives that are not photos.": (
        "一次上传中被接受和被拒绝的照片，以及压缩包中的非照片文件。"
    ),
    "The album in a webhook message.": "webhook 消息中的相册。",
    "The client's photos that the album does not have.": "客户端有、而相册中没有的照片。",
    'The format of a picture; "jpg" is an alias of JPEG.': "图片的格式；“jpg”是 JPEG 的别名。",
    "The generator that the weights are for.": "权重所属的生成器。",
    "The photo as uploaded: upright size in pixels, bytes, digest.": "上传的照片：摆正后的像素尺寸、字节数和摘要。",
    "The queue lane of a job: single photos or albums.": "任务所在的队列通道：单张照片或相册。",
    "The resulting picture.": "画好的图片。",
    "The service's limits.": "服务的各项限制。",
    "The stages of a conversion.": "绘制的各个阶段。",
    "The states of a job.": "任务的各种状态。",
    "What is done with every photo of an album.": "对相册中每张照片进行的操作。",
    "Whether faces are drawn at a size that suits them; otherwise a photo is drawn as if it had none.": (
        "人脸是否按适合的大小绘制；否则按没有人脸的照片绘制。"
    ),
    "Why a job failed.": "任务失败的原因。",
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

_ERRORS: Final = {
    "API key required": "需要 API 密钥",
    "Album not found": "找不到相册",
    "Cross-site request": "跨站请求",
    "Idempotency-Key reused with a different payload": "同一个 Idempotency-Key 用于不同的内容",
    "Invalid value": "取值无效",
    "Job not found": "找不到任务",
    "Method not allowed": "不允许使用该方法",
    "No acceptable format": "没有可接受的格式",
    "Permission denied": "没有权限",
    "Preview not found": "找不到预览图",
    "Quota exceeded": "配额已用完",
    "Service temporarily unavailable": "服务暂不可用",
    "Something went wrong on our side": "服务出了点问题",
    "The album is full": "相册已满",
    "The archive cannot be used": "无法使用这个压缩包",
    "The conversion took too long": "绘制超时",
    "The engine failed": "绘制引擎出错",
    "The job was canceled": "任务已取消",
    "The photo cannot be converted": "这张照片无法转换",
    "The photo is damaged": "照片已损坏",
    "The photo is no longer stored": "照片已不再保存",
    "The photo is too large": "照片太大",
    "The picture has expired": "图片已过期",
    "The picture is not ready yet": "图片尚未完成",
    "The picture is too large for this service's memory": "图片太大，服务的内存不足",
    "The queue is full": "队列已满",
    "The weights cannot be used": "无法使用这些权重",
    "This job has no picture": "这个任务没有图片",
    "Too many failed attempts": "失败次数过多",
    "Too many requests": "请求过于频繁",
    "Unknown field": "未知的字段",
    "Unknown style": "未知的风格",
    "We can't read this file as an image": "无法识别这个图片文件",
}

CHINESE_REFERENCE: Final = _PAGE | _SCHEMAS | _OPERATIONS | _ANSWERS | _FIELDS | _MODELS | _WEBHOOKS | _ERRORS
