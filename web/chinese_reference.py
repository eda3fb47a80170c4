# ruff: noqa: RUF001  the punctuation of Chinese
"""The API page in Chinese, by the English in its templates and in the OpenAPI document, which is in English only."""

from typing import Final

from web.chinese_operations import CHINESE_OPERATIONS

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
    "An operation on every photo of an album.": "对相册中每张照片进行的操作。",
    "The choice whether faces are drawn at a size that suits them, or as if the photo had none.": (
        "选择人脸是否按适合的大小绘制，或按没有人脸的照片绘制。"
    ),
    "The reason why a job failed.": "任务失败的原因。",
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

CHINESE_REFERENCE: Final = _PAGE | _SCHEMAS | CHINESE_OPERATIONS | _FIELDS | _MODELS | _ERRORS
