"""Take the screenshots of docs/explorer.md with Chromium.

umekomi embed ../shared/data/fine_food_reviews_1k.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'
python benchmarks/explorer_pictures.py reviews.parquet docs/pictures
"""

import json
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]


def take_screenshots(page: Page, folder: Path) -> None:
    def save(name: str) -> None:
        page.mouse.move(2, 2)
        page.wait_for_timeout(900)
        page.screenshot(path=folder / f"explorer-{name}.png")

    page.get_by_role("tab", name="Groups").click()
    save("groups")
    page.get_by_role("tab", name="Search").click()
    page.fill("#query", "coffee that tastes bad")
    page.wait_for_selector(".texts button")
    save("search")
    page.locator(".texts button").nth(2).click()
    page.wait_for_selector(".details")
    page.get_by_role("button", name="Light or dark").click()
    save("record")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show in Japanese").click()
    page.get_by_role("tab", name="ラベル").click()
    page.fill("#labels", "an angry complaint\na happy customer")
    page.wait_for_selector("#view .texts")
    page.get_by_role("button", name="全体を表示").click()
    save("labels")
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="明暗の切り替え").click()
    page.get_by_role("tab", name="グループ").click()
    save("phone")


def main() -> None:
    source, folder = sys.argv[1], Path(sys.argv[2])
    command = [sys.executable, "-m", "umekomi", "explore", source, "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        url = json.loads(server.stdout.readline())["url"]
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-GB")
        page.goto(url)
        page.wait_for_selector(".legend li", timeout=120_000)
        take_screenshots(page, folder)
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main()
