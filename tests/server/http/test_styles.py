def test_an_unknown_style_is_refused_once(tmp_path: Path) -> None:
    with application(tmp_path) as client:
        answer = client.get("/cog/preview.png", params={"url": str(tmp_path / "any.tif"), "style": "nvdi"})
    assert answer.status_code == 400
    assert answer.json()["detail"].count("nvdi") == 1
